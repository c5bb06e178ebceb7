#include "runtime/intrusive_list.h"

#include <doctest/doctest.h>

#include <deque>
#include <vector>

#include "runtime/random.h"
#include "tests/death.h"

namespace spindle {
namespace {

struct Other {};

class Element : public ListHook<Element>, public ListHook<Other> {
 public:
  explicit Element(int number = 0) noexcept : number(number) {}
  bool is_in_first() const noexcept { return ListHook<Element>::is_linked(); }
  void leave_first() noexcept { ListHook<Element>::unlink(); }
  int number;
};

using List = IntrusiveList<Element>;
using OtherList = IntrusiveList<Element, ListHook<Other>>;

std::vector<int> numbers_of(List& list) {
  std::vector<int> numbers;
  for (Element* at = list.first(); at != nullptr; at = list.next(*at)) numbers.push_back(at->number);
  return numbers;
}

TEST_SUITE_BEGIN("intrusive list");

TEST_CASE("elements come out in the order in which they went in") {
  Element one(1), two(2), three(3);
  List list;
  CHECK(list.empty());
  CHECK(list.first() == nullptr);
  list.push_back(two);
  list.push_back(three);
  list.push_front(one);
  CHECK(numbers_of(list) == std::vector<int>{1, 2, 3});
  CHECK(list.pop_front().number == 1);
  CHECK(list.pop_front().number == 2);
  CHECK(list.front().number == 3);
  CHECK(list.pop_front().number == 3);
  CHECK(list.empty());
}

TEST_CASE("an element leaves from the middle, and may come back") {
  Element one(1), two(2), three(3);
  List list;
  list.push_back(one);
  list.push_back(two);
  list.push_back(three);
  two.leave_first();
  CHECK_FALSE(two.is_in_first());
  CHECK(numbers_of(list) == std::vector<int>{1, 3});
  list.push_back(two);
  CHECK(numbers_of(list) == std::vector<int>{1, 3, 2});
  list.clear();
  CHECK_FALSE(one.is_in_first());
  CHECK(list.empty());
}

TEST_CASE("an element is in one list per hook") {
  Element one(1);
  List list;
  OtherList others;
  list.push_back(one);
  others.push_back(one);
  CHECK(&others.front() == &one);
  CHECK(&list.front() == &one);
  list.pop_front();
  CHECK_FALSE(others.empty());
  others.clear();
}

TEST_CASE("a list behaves as a deque does, whatever is done to it") {
  Random random(42);
  std::vector<Element> elements(64);
  List list;
  std::deque<int> model;
  for (int index = 0; index < 64; ++index) elements[index].number = index;
  for (int step = 0; step < 20000; ++step) {
    Element& element = elements[random.below(64)];
    if (element.is_in_first()) {
      element.leave_first();
      std::erase(model, element.number);
    } else if (random.chance(1, 2)) {
      list.push_back(element);
      model.push_back(element.number);
    } else {
      list.push_front(element);
      model.push_front(element.number);
    }
    if (step % 100 == 0) CHECK(numbers_of(list) == std::vector<int>(model.begin(), model.end()));
  }
  list.clear();
}

TEST_CASE("an element in two lists, or dying in one, is a caught bug") {
  expect_abort(
      [] {
        Element one;
        List first, second;
        first.push_back(one);
        second.push_back(one);
      },
      "an element was put into a second list");
  expect_abort(
      [] {
        List list;
        Element one;
        list.push_back(one);
      },
      "a list element was destroyed while it was linked");
  expect_abort(
      [] {
        Element one;
        List list;
        list.push_back(one);
      },
      "a list was destroyed with elements in it");
}

TEST_CASE("taking what is not there is a caught bug") {
  expect_abort(
      [] {
        List list;
        list.pop_front();
      },
      "front() of an empty list");
  expect_abort(
      [] {
        Element one;
        one.leave_first();
      },
      "unlink of an element that is in no list");
}

TEST_SUITE_END();

}  // namespace
}  // namespace spindle
