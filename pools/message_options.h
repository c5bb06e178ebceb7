// How many messages a service needs: computed from its limits, not guessed. Each term of the sum has a name, and is
// documented where it is added. With the sum, a service at its configured limits can't deadlock on messages.
#pragma once

#include <cstdint>
#include <variant>

namespace spindle {

/// One that sends requests and waits for replies.
struct MessageClientOptions {
  uint32_t connections_max = 1;  ///< > 0
  uint32_t send_queue_max = 4;   ///< messages queued for sending on one connection; > 0

  static constexpr uint64_t requests_in_flight = 1;  ///< a client has one request at a time
  static constexpr uint64_t bursts = 1;              ///< what is taken before something else comes back

  constexpr bool is_valid() const noexcept { return connections_max > 0 && send_queue_max > 0; }
  constexpr uint64_t messages_count() const noexcept {
    uint64_t count = 0;
    count += connections_max;                            // each connection receives into one
    count += uint64_t{connections_max} * send_queue_max;  // and may have its send queue full
    count += requests_in_flight;                         // kept for sending it again
    count += bursts;
    return count;
  }
};

enum class MessageTransport : uint8_t {
  tcp,
  simulated,  ///< delivers without buffers of its own on each connection
};

/// A member of a replicated service.
struct MessageReplicaOptions {
  uint32_t members_count = 1;        ///< of the cluster, this one included; > 0
  uint32_t prepare_queue_max = 8;    ///< requests that are being replicated; > 0
  uint32_t request_queue_max = 32;   ///< requests that wait for a place in the prepare queue
  uint32_t log_reads_max = 8;        ///< in flight
  uint32_t log_writes_max = 32;      ///< in flight; > 0
  uint32_t reply_reads_max = 1;      ///< of stored replies, in flight
  uint32_t reply_writes_max = 4;     ///< in flight
  uint32_t block_repair_reads_max = 4;  ///< blocks read for another member, in flight
  uint32_t loopback_queue_max = 4;   ///< messages that a member sends to itself
  uint32_t send_queue_max = 4;       ///< messages queued for sending on one connection; > 0
  MessageTransport transport = MessageTransport::tcp;

  static constexpr uint64_t committing = 1;       ///< the message that is being committed
  static constexpr uint64_t view_sync = 1;        ///< the one message of a view synchronisation
  static constexpr uint64_t burst_of_parsing = 1;  ///< what a receive buffer is copied to when it holds two messages
  static constexpr uint64_t burst_of_reply = 1;    ///< the reply that a commit builds

  constexpr bool is_valid() const noexcept {
    return members_count > 0 && prepare_queue_max > 0 && log_writes_max > 0 && send_queue_max > 0;
  }
  /// Requests that were taken and not committed.
  constexpr uint64_t pipeline_max() const noexcept { return uint64_t{prepare_queue_max} + request_queue_max; }
  /// To the other members, and to one client for each request in the pipeline.
  constexpr uint64_t connections_max() const noexcept { return members_count + pipeline_max() - 1; }
  constexpr uint64_t messages_count() const noexcept {
    uint64_t count = 0;
    count += log_reads_max;           // read into
    count += log_writes_max;          // held until they are durable
    count += reply_reads_max;         // read into
    count += reply_writes_max;        // held until they are durable
    count += block_repair_reads_max;  // read into, then sent
    count += loopback_queue_max;      // held until this member has handled them
    count += pipeline_max();          // held until they are committed
    count += committing;
    count += view_sync;
    count += members_count;  // a quorum of messages: one from each member, kept until there are enough
    count += burst_of_parsing;
    count += burst_of_reply;
    // Each connection receives into one, and may have its send queue full.
    if (transport == MessageTransport::tcp) count += connections_max() * (uint64_t{1} + send_queue_max);
    return count;
  }
};

}  // namespace spindle
