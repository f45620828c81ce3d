"""`python -m schedtuna`."""

from schedtuna.cli.main import main

main()
