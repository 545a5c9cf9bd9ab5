#include "paper/claim.h"

namespace attune::examples {

std::vector<Claim> all_claims() {
  return {cost_claim(),        memory_claim(),      numerics_claim(),
          stability_claim(),   transfer_claim(),    frozen_claim(),
          pretraining_claim(), adversarial_claim(), detection_claim()};
}

}  // namespace attune::examples
