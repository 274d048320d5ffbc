"""Where facts live: the tables, the sessions, the array COPY codec and the embedded servers."""
