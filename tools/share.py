"""Write what an installation has in share/: the manual page and the shells' completions.

Usage: tools/share.py FOLDER
"""

import sys
from pathlib import Path

from schedtuna.cli.manual import manual_page
from schedtuna.cli.shells import SCRIPTS
from schedtuna.cli.tree import known_parameters, known_words, read_tree

PLACES = {
    "bash": "bash-completion/completions/schedtuna",
    "zsh": "zsh/site-functions/_schedtuna",
    "fish": "fish/vendor_completions.d/schedtuna.fish",
}


def main() -> None:
    """Write them below the folder that is named."""
    folder, tree = Path(sys.argv[1]), read_tree()
    texts = {
        place: SCRIPTS[shell](tree, known_words(), known_parameters()) for shell, place in PLACES.items()
    }
    for place, text in {"man/man1/schedtuna.1": manual_page(tree), **texts}.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
