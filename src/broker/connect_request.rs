//! The request of a client, from its CONNECT until the client is let in.

use super::origin::Origin;
use super::will::WillMessage;
use crate::access::Login;
use crate::mqtt::{Connect, Version};
use std::sync::Arc;

/// The content of CONNECT that is needed once the packet is read. The password and the
/// authentication data are no part of it: they go into the first [`Login`] only.
#[derive(Debug)]
pub(super) struct ConnectRequest {
    pub(super) version: Version,
    /// The client identifier, also where the broker has given it.
    pub(super) client_id: Arc<str>,
    /// CONNECT left the client identifier to the broker.
    pub(super) is_assigned: bool,
    /// The name that the client gives itself.
    pub(super) user_name: Option<Arc<str>>,
    pub(super) clean_start: bool,
    /// The keep-alive period in seconds; 0 is none.
    pub(super) keep_alive_s: u16,
    /// The time in seconds for which the session outlives its connection; `u32::MAX` is for ever.
    pub(super) session_expiry_s: u32,
    pub(super) receive_maximum: u16,
    pub(super) topic_alias_max: u16,
    pub(super) wants_response_information: bool,
    pub(super) authentication_method: Option<Arc<str>>,
    pub(super) will: Option<Box<WillMessage>>,
}

impl ConnectRequest {
    /// `chosen` is the client identifier that counts instead of CONNECT's own.
    pub(super) fn new(connect: &Connect<'_>, chosen: Option<&str>) -> Self {
        Self {
            version: connect.version,
            client_id: chosen.unwrap_or(connect.client_id).into(),
            is_assigned: connect.client_id.is_empty(),
            user_name: connect.user_name.map(Into::into),
            clean_start: connect.clean_start,
            keep_alive_s: connect.keep_alive_s,
            session_expiry_s: connect.session_expiry_s,
            receive_maximum: connect.receive_maximum,
            topic_alias_max: connect.topic_alias_max,
            wants_response_information: connect.request_response_information,
            authentication_method: connect.authentication_method.map(Into::into),
            will: connect.will.as_ref().map(|will| Box::new(WillMessage::new(will))),
        }
    }

    /// The client's login, without what the client proves it by.
    pub(super) fn login(&self, origin: &Origin) -> Login {
        Login {
            listener: origin.listener,
            address: origin.peer.map(|peer| peer.ip()),
            client_id: Arc::clone(&self.client_id),
            user_name: self.user_name.clone(),
            certificate: origin.certificate_user.clone(),
            method: self.authentication_method.clone(),
            ..Login::default()
        }
    }

    /// The keep alive that the server asks for instead of the client's, in seconds. Only a 5.0
    /// client can be told.
    // [MQTT-3.2.2-21]
    pub(super) fn server_keep_alive_s(&self, max_s: u16) -> Option<u16> {
        let is_longer = self.keep_alive_s == 0 || self.keep_alive_s > max_s;
        (self.version.is_v5() && max_s > 0 && is_longer).then_some(max_s)
    }
}
