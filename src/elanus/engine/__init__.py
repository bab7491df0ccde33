"""The collection runtime: write path, snapshots, planner, search, query, and the jobs that tidy up behind them."""
