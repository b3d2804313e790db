"""Errors that stop a wave: raised by decoder and executor, turned into a KFD event by the engines."""


class IllegalInstruction(Exception):
    """A wave reached words that are no instruction of its generation, or none that can be executed here.

    `address` is the address (or, from the decoder, the offset in the code) of the first word, `words` the
    dwords of the encoding as far as they are known, `text` says what is wrong with them.
    """

    def __init__(self, address: int, words: tuple[int, ...], text: str) -> None:
        super().__init__(address, words, text)
        self.address = address
        self.words = words
        self.text = text

    def __str__(self) -> str:
        words = " ".join(f"{word:08x}" for word in self.words)
        return f"illegal instruction at {self.address:#x}: [{words}] {self.text}"


class NotEmulatedError(IllegalInstruction):
    """Hardware executes the instruction, the emulator does not."""


class NotExecutable(Exception):
    """The emulator has no semantics for an instruction that decodes; waves that reach it are stopped."""
