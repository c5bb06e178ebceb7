// Lists of events and faults, as a command line has them.
#include "io/sim/fuzz_selection.h"

#include <doctest/doctest.h>

namespace spindle::fuzz {
namespace {

std::string events_text(std::string_view text) {
  const std::optional<EventSelection> parsed = EventSelection::parse(text);
  return parsed.has_value() ? parsed->text() : "wrong";
}

std::string faults_text(std::string_view text) {
  const std::optional<FaultSelection> parsed = FaultSelection::parse(text);
  return parsed.has_value() ? parsed->text() : "wrong";
}

TEST_CASE("A list of events is read, put in order, and written in its shortest form") {
  CHECK(events_text("none") == "none");
  CHECK(events_text("1") == "1");
  CHECK(events_text("1,5-9") == "1,5-9");
  CHECK(events_text("9,1,2") == "1-2,9");
  CHECK(events_text("5-9,7-12,13") == "5-13");
  CHECK(events_text("1-4294967295,3") == "1-4294967295");
  CHECK(events_text("4294967295,4294967294") == "4294967294-4294967295");
}

TEST_CASE("What is no list of events is refused") {
  for (const char* text : {"",
                           ",",
                           "1,",
                           ",1",
                           "1,,2",
                           "0",
                           "0-3",
                           "9-5",
                           "1-",
                           "-1",
                           "-",
                           "1-2-3",
                           "+1",
                           " 1",
                           "1 ",
                           "1.5",
                           "a",
                           "0x1",
                           "none,1",
                           "None",
                           "4294967296",
                           "1-4294967296",
                           "99999999999999999999"}) {
    CAPTURE(text);
    CHECK(events_text(text) == "wrong");
  }
}

TEST_CASE("A selection of events holds what is in its list") {
  const EventSelection selection = *EventSelection::parse("3,5-7,4294967295");
  for (const uint32_t number : {3u, 5u, 6u, 7u, UINT32_MAX}) CHECK(selection.contains(number));
  for (const uint32_t number : {0u, 1u, 2u, 4u, 8u, UINT32_MAX - 1}) CHECK_FALSE(selection.contains(number));
  CHECK_FALSE(EventSelection().contains(1));
  const uint32_t numbers[] = {7, 2, 3, 2};
  CHECK(EventSelection(numbers).text() == "2-3,7");
}

TEST_CASE("A list of faults is read, put in order, and written without what it says twice") {
  CHECK(faults_text("none") == "none");
  CHECK(faults_text("7.2,3.1,3.10,3.1") == "3.1,3.10,7.2");
  CHECK(faults_text("0.1") == "0.1");
  for (const char* text : {"", "3", "3.", ".1", "3.0", "3.1,", "3.1-3.4", "3.1.1", "-3.1", "3.4294967296", "all"}) {
    CAPTURE(text);
    CHECK(faults_text(text) == "wrong");
  }
}

TEST_CASE("A selection of faults lets pass what is in its list") {
  FaultSelection selection = *FaultSelection::parse("7.2,3.1");
  CHECK(selection.allows({3, 1}, Fault::again));
  CHECK(selection.allows({7, 2}, Fault::bit_flip));
  CHECK_FALSE(selection.allows({3, 2}, Fault::again));
  CHECK_FALSE(FaultSelection().allows({1, 1}, Fault::again));
}

}  // namespace
}  // namespace spindle::fuzz
