"""Services' hot ports, in processes of their own, and the programs that others wrote to call them."""
