//! How long a condition may take, counted and not timed: the same condition on the same arguments always ends the same way.

/// What one condition may cost: some milliseconds at most.
pub(super) const TANK: usize = 200_000;

/// So many bytes are passed over, looking for the end of a value, at the cost of one step.
const PASSED: usize = 64;
/// So many bytes are read, compared, searched or copied at the cost of one step.
const READ: usize = 16;

/// The condition costs more than there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Empty;

/// What is left.
#[derive(Debug)]
pub(super) struct Fuel {
    left: usize,
}

impl Fuel {
    pub(super) fn full() -> Self {
        Self { left: TANK }
    }

    /// What was used so far.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        TANK - self.left
    }

    /// Some steps.
    pub(super) fn steps(&mut self, steps: usize) -> Result<(), Empty> {
        match self.left.checked_sub(steps) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Empty)
            }
        }
    }

    /// Reads, compares, searches or copies.
    pub(super) fn read(&mut self, bytes: usize) -> Result<(), Empty> {
        self.steps(1 + bytes / READ)
    }

    /// Passes over, looking for where something ends.
    pub(super) fn pass(&mut self, bytes: usize) -> Result<(), Empty> {
        self.steps(1 + bytes / PASSED)
    }
}
