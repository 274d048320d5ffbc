"""Operations: the queues, what failed in them, the workers, and the figures that are watched."""
