"""End-to-end tests of both forms of Tufline: what goes in at one end is what TUF clients verify at the other."""
