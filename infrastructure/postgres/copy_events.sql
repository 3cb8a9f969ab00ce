-- Takes events as they are, in the order of Recorded.
COPY refold.events FROM STDIN (FORMAT BINARY)
