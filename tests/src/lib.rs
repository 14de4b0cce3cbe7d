//! Scenario tests live beside this file.
