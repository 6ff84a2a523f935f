"""The scheduler: decides where rollouts are worth spending, and accounts for every one of them."""
