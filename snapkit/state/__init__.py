"""What a state says, once its bytes are records: a snapshot, and the questions put to it, each in a room of its own."""
