/**
 * The version of Tufline that is deployed, as in `Cargo.toml`. `tufline doctor` compares it with
 * its own.
 */
export const VERSION = "0.2.0";
