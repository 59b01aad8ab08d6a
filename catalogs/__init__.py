"""Profiles of catalogs and collections, as YAML. Data only: :mod:`geomask.stac.profile` reads them."""
