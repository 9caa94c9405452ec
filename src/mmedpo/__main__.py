"""`python -m mmedpo`."""

from mmedpo.cli.main import main

if __name__ == "__main__":
    main()
