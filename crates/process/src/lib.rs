//! Process trees that never outlive the gate: spawn, supervise, end.
