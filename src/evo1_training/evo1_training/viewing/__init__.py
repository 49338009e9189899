"""Pictures of episodes for people: contact sheets, plots of joints, rerun."""
