"""A learned decision in its canonical form: integers in, integers out, the same bits wherever it runs."""
