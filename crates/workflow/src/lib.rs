//! The straight path: one public function a stage, each taking the previous value and returning the next.
//!
//! It never links a radio or serial library and never prints; buses, clock and people arrive as arguments.
//! Start with [`laptop`], then read the stages in order.

pub mod problem;
