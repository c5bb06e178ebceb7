#include "runtime/promise.h"

#include "runtime/loop.h"

namespace spindle {

namespace {

PromiseBase* strand_root_finished(PromiseBase& root) noexcept {
  SPINDLE_ASSERT(root.context->kind() == CancelContext::Kind::strand, "a task ended inside a section of its own");
  root.context->loop().note_strand_ended(static_cast<Strand&>(*root.context));
  return nullptr;
}

void run_strand(ReadyNode& node, Loop&) noexcept {
  Strand& strand = static_cast<Strand&>(node);
  strand.root().start(strand, nullptr, strand_root_finished);
  strand.root().handle().resume();
}

}  // namespace

void PromiseBase::finish(PromiseBase* finished) noexcept {
  while (finished != nullptr) {
    finished->phase = Phase::done;
    if (finished->hook == nullptr) return finished->context->loop().transfer(finished->parent->handle());
    finished = finished->hook(*finished);
  }
}

void Strand::launch(Loop& loop, CancelContext* under, PromiseBase& root, std::source_location at) noexcept {
  root_ = &root;
  open(loop, under, at);
  run = run_strand;
  loop.push_ready(*this);
}

}  // namespace spindle
