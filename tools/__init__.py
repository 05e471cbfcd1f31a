"""What `make` runs: generators and checks. Nothing of the product imports them."""
