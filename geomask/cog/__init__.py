"""How a cloud-optimized GeoTIFF lies in its file: layouts, the header index, the mini-TIFF that decodes a few tiles."""
