"""What lies in the folders of episodes, datasets and runs, as a person browses it."""
