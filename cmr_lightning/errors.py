"""The one exception whose message is meant for the person at the keyboard."""


class UserError(Exception):
    """Something that the user can mend: a setting, a file, a number that has gone astray.

    The message is one clear sentence, or a few: what was wrong, which key or file, what to do. The command line prints
    it without a traceback and exits with code 2; every other exception is a fault of the program and keeps its
    traceback.
    """
