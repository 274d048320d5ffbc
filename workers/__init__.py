"""arq workers: thin functions that call one `engine.runs` function each, and the supervisor that keeps them up."""
