// A doubly linked list whose links live in the elements: linking and unlinking never allocate and never fail.
// The list does not own. An element is in at most one list per hook; a hook that dies while linked is a caught
// bug. Tag tells several hooks of one element apart.
#pragma once

#include "runtime/assert.h"

namespace spindle {

template <class T, class Hook>
class IntrusiveList;

/// Links that mean nothing while the element is in no list, for elements that know otherwise whether they are in one
/// and are made too often to pay for more: nothing is initialised, and nothing checked.
template <class Tag>
class UncheckedListHook {
 public:
  UncheckedListHook() noexcept {}
  UncheckedListHook(const UncheckedListHook&) = delete;
  UncheckedListHook& operator=(const UncheckedListHook&) = delete;

  /// Takes the element out of the list that it is in.
  void unlink() noexcept {
    previous_->next_ = next_;
    next_->previous_ = previous_;
  }

 private:
  template <class T, class Hook>
  friend class IntrusiveList;

  static void check_unlinked(const UncheckedListHook&) noexcept {}
  void forget() noexcept {}

  UncheckedListHook* next_;
  UncheckedListHook* previous_;
};

template <class Tag>
class ListHook {
 public:
  ListHook() noexcept = default;
  ListHook(const ListHook&) = delete;
  ListHook& operator=(const ListHook&) = delete;
  ~ListHook() { SPINDLE_ASSERT(!is_linked(), "a list element was destroyed while it was linked"); }

  bool is_linked() const noexcept { return next_ != nullptr; }
  /// Takes the element out of whatever list it is in.
  void unlink() noexcept {
    SPINDLE_ASSERT(is_linked(), "unlink of an element that is in no list");
    previous_->next_ = next_;
    next_->previous_ = previous_;
    next_ = previous_ = nullptr;
  }

 private:
  template <class T, class Hook>
  friend class IntrusiveList;

  static void check_unlinked(const ListHook& hook) noexcept {
    SPINDLE_ASSERT(!hook.is_linked(), "an element was put into a second list");
  }
  void forget() noexcept { next_ = previous_ = nullptr; }

  ListHook* next_ = nullptr;
  ListHook* previous_ = nullptr;
};

/// T derives from the hook; its tag is T itself where an element is in one list only.
/// All operations are O(1), except clear(): O(n).
template <class T, class Hook = ListHook<T>>
class IntrusiveList {
 public:
  IntrusiveList() noexcept { head_.next_ = head_.previous_ = &head_; }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;
  ~IntrusiveList() {
    SPINDLE_ASSERT(empty(), "a list was destroyed with elements in it");
    head_.forget();
  }

  bool empty() const noexcept { return head_.next_ == &head_; }
  T& front() noexcept {
    SPINDLE_ASSERT(!empty(), "front() of an empty list");
    return *static_cast<T*>(head_.next_);
  }
  void push_back(T& element) noexcept { insert_before(head_, element); }
  void push_front(T& element) noexcept { insert_before(*head_.next_, element); }
  T& pop_front() noexcept {
    T& element = front();
    static_cast<Hook&>(element).unlink();
    return element;
  }
  /// The element after `element`, or null at the end.
  T* next(T& element) noexcept {
    Hook* hook = static_cast<Hook&>(element).next_;
    return hook == &head_ ? nullptr : static_cast<T*>(hook);
  }
  T* first() noexcept { return empty() ? nullptr : &front(); }
  void clear() noexcept {
    while (!empty()) pop_front();
  }

 private:
  void insert_before(Hook& place, T& element) noexcept {
    Hook& hook = element;
    Hook::check_unlinked(hook);
    hook.previous_ = place.previous_;
    hook.next_ = &place;
    place.previous_->next_ = &hook;
    place.previous_ = &hook;
  }

  Hook head_;
};

}  // namespace spindle
