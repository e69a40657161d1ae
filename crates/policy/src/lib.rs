//! Pure decisions: principals, access levels, name patterns, who may see and call what. No I/O, no clock.
