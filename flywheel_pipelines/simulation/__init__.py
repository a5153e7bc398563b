"""What is simulated or replayed, and says so: synthetic archives and the replay of archived A/B tests."""
