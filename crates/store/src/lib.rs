//! What a gate keeps for good, in `data_dir/gatepost.db`.

pub mod sqlite;
