"""What a person sees of a search: live progress, leaderboard, finalists."""
