//! The strategy `postgresql-fslevel` on a private server and a volume of which snapshots can be taken.

mod check;
mod cycle;
mod volume;
