"""libFuzzer on the C of the hot port: what is kept, and a bounded run of new inputs."""
