"""What holds for every service, asked of each of them as a process."""
