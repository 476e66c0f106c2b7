"""What the device keeps on its disk: blobs by digest, version folders, and one record."""
