"""`waypost links import` and `waypost links export`: links from other systems' files, and to files of our own."""
