//! The testbed itself, on the real components.

#[cfg(test)]
mod broker;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod shared;
