"""Amazon's public reviews: what all readers of them know."""

# A time before Amazon sold anything, or of the next century, is in another unit, or damaged.
EARLIEST, LATEST = 788_918_400, 4_102_444_800  # unix seconds: 1995-01-01 and 2100-01-01
