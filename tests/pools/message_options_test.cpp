// How many messages a client and a replica need: each term of the sum.
#include "pools/message_options.h"

#include <doctest/doctest.h>

#include "pools/message_pool.h"

namespace spindle {
namespace {

using Pool = MessagePool;

TEST_CASE("the capacity of a client is the sum of its terms") {
  CHECK(Pool::Client{.connections_max = 1, .send_queue_max = 1}.messages_count() == 1 + 1 + 1 + 1);
  CHECK(Pool::Client{.connections_max = 3, .send_queue_max = 5}.messages_count() == 3 + 15 + 1 + 1);
}

TEST_CASE("the capacity of a replica is the sum of its terms, each counted once") {
  constexpr Pool::Replica smallest{.members_count = 1,
                                   .prepare_queue_max = 1,
                                   .request_queue_max = 0,
                                   .log_reads_max = 0,
                                   .log_writes_max = 1,
                                   .reply_reads_max = 0,
                                   .reply_writes_max = 0,
                                   .block_repair_reads_max = 0,
                                   .loopback_queue_max = 0,
                                   .send_queue_max = 1,
                                   .transport = MessageTransport::simulated};
  // log write, pipeline, committing, view sync, one member, two bursts
  static_assert(smallest.messages_count() == 1 + 1 + 1 + 1 + 1 + 2);
  const auto grown_by = [&smallest](uint32_t Pool::Replica::* term, MessageTransport transport) {
    Pool::Replica options = smallest;
    options.transport = transport;
    const uint64_t before = options.messages_count();
    options.*term += 10;
    return options.messages_count() - before;
  };
  using Term = uint32_t Pool::Replica::*;
  for (const Term term :
       {&Pool::Replica::members_count, &Pool::Replica::prepare_queue_max, &Pool::Replica::request_queue_max,
        &Pool::Replica::log_reads_max, &Pool::Replica::log_writes_max, &Pool::Replica::reply_reads_max,
        &Pool::Replica::reply_writes_max, &Pool::Replica::block_repair_reads_max, &Pool::Replica::loopback_queue_max}) {
    CHECK(grown_by(term, MessageTransport::simulated) == 10);
  }
  CHECK(grown_by(&Pool::Replica::send_queue_max, MessageTransport::simulated) == 0);
  // Over TCP one connection here, and ten more with ten more members, or ten more requests.
  CHECK(grown_by(&Pool::Replica::send_queue_max, MessageTransport::tcp) == 10);
  CHECK(grown_by(&Pool::Replica::members_count, MessageTransport::tcp) == 10 + 10 * 2);
  CHECK(grown_by(&Pool::Replica::prepare_queue_max, MessageTransport::tcp) == 10 + 10 * 2);
  CHECK(grown_by(&Pool::Replica::request_queue_max, MessageTransport::tcp) == 10 + 10 * 2);
  CHECK(grown_by(&Pool::Replica::log_reads_max, MessageTransport::tcp) == 10);
}

TEST_CASE("the capacity of a replica over TCP counts members + pipeline - 1 connections") {
  const Pool::Replica options{.members_count = 3, .prepare_queue_max = 8, .request_queue_max = 4, .send_queue_max = 2};
  CHECK(options.connections_max() == 3 + 12 - 1);
  Pool::Replica simulated = options;
  simulated.transport = MessageTransport::simulated;
  CHECK(options.messages_count() - simulated.messages_count() == 14 * 3);
  const Result<std::unique_ptr<Pool>> made = Pool::create(options, 4096);
  CHECK((*made)->capacity() == options.messages_count());
}

}  // namespace
}  // namespace spindle
