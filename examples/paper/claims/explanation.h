#pragma once

#include <string>
#include <vector>

#include "paper/claim.h"

// The test of why Deploy is unstable, a part of the claim "stability".
//
// An SGD step of rate lr moves w in Eval by -lr s dw', hence w' = s w by -lr s^2 dw'; in Deploy it
// moves w' by -lr dw'. So Deploy's steps, scaled by s^2 where they move a filter, are Eval's, as
// long as gamma is fixed and weights do not decay. A bias b' moves by -lr db' in both; where the
// convolution has a bias, Eval moves b' through beta and through it, by -lr (1 + s^2) db'.

namespace attune::examples {

/// Runs of some steps in double: in Eval, in Deploy with steps scaled so, and in Deploy. `net` is
/// "resnet", the pretrained one, or "two blocks with bias". Each row has "run", "losses" and the
/// largest relative "difference" of these from Eval's.
Experiment explanation(Lab& lab, const std::string& net, double momentum);

void report_explanation(Report& report, const std::vector<Row>& rows);

}  // namespace attune::examples
