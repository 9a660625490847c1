// Mendelian randomisation with correlated instruments: one causal effect.
//
//   gamma_j ~ Normal(0, sigma), a_j ~ Normal(0, omega)      what variant j itself does
//   x ~ MultiNormal(S_x R gamma / s_x, S_x R S_x)           what it shows, with the variants that it is correlated with
//   y ~ MultiNormal(S_y R (theta gamma + a + sign(x) alpha) / s_y, S_y R S_y), errors of a variant correlated by rho
//   theta ~ Normal(0, S_Y / S_X), alpha ~ .8 Normal(0, .05 S_Y) + .2 Normal(0, .3 S_Y)
//   sigma ~ HalfNormal(S_X), omega ~ HalfNormal(S_Y / 2)
//
// gamma and a are summed out: (x, y) is one normal vector.
//
// Units: as in mendelian_randomization.stan. Source: Burgess, Dudbridge and Thompson, Stat Med 35:1880 (2016); Zhu and
// Stephens, Ann Appl Stat 11:1561 (2017).
functions {
  // Covariance of all effects in units of their errors, those on the exposure first.
  matrix of_effects(matrix ld, vector through_x, vector through_y, vector beside, real rho) {
    int n = rows(ld);
    matrix[n, n] to_x = diag_post_multiply(ld, through_x);
    matrix[n, n] to_y = diag_post_multiply(ld, through_y);
    matrix[2 * n, 2 * n] cov;
    cov[1 : n, 1 : n] = tcrossprod(to_x) + ld;
    cov[n + 1 : 2 * n, n + 1 : 2 * n] = tcrossprod(to_y)
                                        + tcrossprod(diag_post_multiply(ld, beside))
                                        + ld;
    cov[n + 1 : 2 * n, 1 : n] = to_y * to_x' + rho * ld;
    cov[1 : n, n + 1 : 2 * n] = cov[n + 1 : 2 * n, 1 : n]';
    return cov;
  }
}
data {
  int<lower=1> variant;
  int<lower=1> other_variant;
  vector<lower=0>[variant] se_exposure; // s_x
  vector<lower=0>[variant] se_outcome; // s_y
  matrix[variant, other_variant] ld; // R
  real error_correlation; // rho
  real<lower=0> exposure_scale; // S_X
  real<lower=0> outcome_scale; // S_Y
  vector[variant] beta_exposure; // x
  vector[variant] beta_outcome; // y
}
transformed data {
  vector[2 * variant] z = append_row(beta_exposure ./ se_exposure,
                                     beta_outcome ./ se_outcome);
  vector[variant] raising;
  for (j in 1 : variant) {
    raising[j] = (beta_exposure[j] > 0) - (beta_exposure[j] < 0);
  }
  // of the intercept, in units of the outcome's errors
  vector[variant] directed = ld * (raising ./ se_outcome);
  real log_units = -sum(log(se_exposure)) - sum(log(se_outcome));
}
parameters {
  real theta;
  real intercept; // alpha
  real<lower=0> exposure_sd; // sigma
  real<lower=0> pleiotropy_sd; // omega
}
model {
  theta ~ normal(0, outcome_scale / exposure_scale);
  target += log_mix(0.2, normal_lpdf(intercept | 0, 0.3 * outcome_scale),
                    normal_lpdf(intercept | 0, 0.05 * outcome_scale));
  exposure_sd ~ normal(0, exposure_scale);
  pleiotropy_sd ~ normal(0, 0.5 * outcome_scale);
  {
    matrix[2 * variant, 2 * variant] cov = of_effects(ld, exposure_sd ./ se_exposure,
                                                      theta * exposure_sd ./ se_outcome,
                                                      pleiotropy_sd ./ se_outcome,
                                                      error_correlation);
    vector[2 * variant] mean = append_row(zeros_vector(variant), intercept * directed);
    target += multi_normal_lpdf(z | mean, cov) + log_units;
  }
}
generated quantities {
  real log_lik;
  vector[variant] beta_exposure_rep;
  vector[variant] beta_outcome_rep;
  {
    matrix[2 * variant, 2 * variant] cov = of_effects(ld, exposure_sd ./ se_exposure,
                                                      theta * exposure_sd ./ se_outcome,
                                                      pleiotropy_sd ./ se_outcome,
                                                      error_correlation);
    vector[2 * variant] mean = append_row(zeros_vector(variant), intercept * directed);
    vector[2 * variant] again = multi_normal_rng(zeros_vector(2 * variant), cov);
    vector[variant] up;
    log_lik = multi_normal_lpdf(z | mean, cov) + log_units;
    beta_exposure_rep = se_exposure .* again[1 : variant];
    for (j in 1 : variant) {
      up[j] = (beta_exposure_rep[j] > 0) - (beta_exposure_rep[j] < 0);
    }
    beta_outcome_rep = se_outcome .* (again[variant + 1 : 2 * variant]
                                      + intercept * ld * (up ./ se_outcome));
  }
}
