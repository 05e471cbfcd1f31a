"""Generated from `proto/waypost/api/v1/` by `make proto`; never edited by hand."""
