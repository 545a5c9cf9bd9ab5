#include <cstdlib>
#include <deque>
#include <functional>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/emulation/runtime.h"

// Streams, events and graphs. A stream is a queue of work, which has to be done, in order, by the
// time that somebody waits for it; when before that is left to chance, as on a GPU. So what is
// missing to keep two streams in order shows in the results.

struct EmulatedStream {
  std::deque<std::function<void()>> work;
  std::size_t done = 0;           // of all the work so far
  EmulatedGraph* into = nullptr;  // what is recorded in place of being done

  std::size_t begun() const { return done + work.size(); }
};

struct EmulatedEvent {
  EmulatedStream* stream = nullptr;
  std::size_t after = 0;  // as much of the stream's work
};

struct EmulatedGraph {
  std::vector<std::function<void()>> work;
  bool broken = false;  // by a call that no graph can hold
};

namespace {

std::recursive_mutex& mutex() {
  static auto* instance = new std::recursive_mutex;
  return *instance;
}

void work_off(EmulatedStream& stream, std::size_t until) {
  while (stream.done < until) {
    const std::function<void()> work = std::move(stream.work.front());
    stream.work.pop_front();
    ++stream.done;
    work();
  }
}

std::vector<EmulatedStream*>& streams() {
  static auto* instance = new std::vector<EmulatedStream*>;
  return *instance;
}

bool at_once() {
  static std::minstd_rand random(emulation::seed());
  const char* blocking = std::getenv("CUDA_LAUNCH_BLOCKING");
  return random() % 2 == 0 || (blocking != nullptr && std::string(blocking) == "1");
}

cudaError_t unless_captured(EmulatedStream* stream) {
  if (stream == nullptr || stream->into == nullptr) return cudaSuccess;
  stream->into->broken = true;
  return emulation::remember(cudaErrorStreamCaptureUnsupported);
}

long synchronizations = 0;
cudaError_t stream_error = cudaSuccess;

}  // namespace

namespace emulation {

long times_synchronized() { return synchronizations; }

void break_streams(cudaError_t error) { stream_error = error; }

void enqueue(EmulatedStream* stream, std::function<void()> work) {
  if (stream == nullptr) return work();
  const std::lock_guard lock(mutex());
  if (stream->into != nullptr) {
    stream->into->work.push_back(std::move(work));
    return;
  }
  stream->work.push_back(std::move(work));
  if (at_once()) work_off(*stream, stream->begun());
}

void work_off_streams() {
  const std::lock_guard lock(mutex());
  for (EmulatedStream* stream : streams()) work_off(*stream, stream->begun());
}

}  // namespace emulation

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned /*flags*/) {
  const std::lock_guard lock(mutex());
  *stream = new EmulatedStream;  // none is ever destroyed
  streams().push_back(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const std::lock_guard lock(mutex());
  ++synchronizations;
  if (stream_error != cudaSuccess) return emulation::remember(stream_error);
  const cudaError_t error = unless_captured(stream);
  if (error == cudaSuccess && stream != nullptr) work_off(*stream, stream->begun());
  return error;
}

// ---- events ----

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned /*flags*/) {
  *event = new EmulatedEvent;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const std::lock_guard lock(mutex());
  *event = {stream, stream->begun()};
  return unless_captured(stream);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const std::lock_guard lock(mutex());
  if (event->stream != nullptr) work_off(*event->stream, event->after);
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned /*flags*/) {
  const std::lock_guard lock(mutex());
  if (event->stream == nullptr) return cudaSuccess;  // never recorded
  emulation::enqueue(stream,
                     [now = *event] { work_off(*now.stream, now.after); });  // as recorded last
  return unless_captured(stream);
}

// ---- graphs ----

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode /*mode*/) {
  const std::lock_guard lock(mutex());
  if (stream->into != nullptr) return emulation::remember(cudaErrorStreamCaptureUnsupported);
  stream->into = new EmulatedGraph;
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const std::lock_guard lock(mutex());
  *status = stream->into != nullptr ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const std::lock_guard lock(mutex());
  *graph = std::exchange(stream->into, nullptr);
  if (*graph == nullptr) return emulation::remember(cudaErrorInvalidValue);
  if (!(*graph)->broken) return cudaSuccess;
  delete std::exchange(*graph, nullptr);
  return emulation::remember(cudaErrorStreamCaptureInvalidated);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long /*flags*/) {
  *executable = new EmulatedGraph(*graph);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  for (const std::function<void()>& work : executable->work) emulation::enqueue(stream, work);
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
