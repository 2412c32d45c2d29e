"""End-to-end tests of both forms of Tufline: TUF clients verify at one end what went in at the
other."""
