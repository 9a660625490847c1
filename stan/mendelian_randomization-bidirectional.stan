// Mendelian randomisation in both directions: two traits that act on each other.
//
//   d_xj ~ Normal(0, sigma_x or, of instruments of y, omega_x)       direct effects of variant j
//   d_yj ~ Normal(0, omega_y or, of instruments of y, sigma_y)
//   g_x = d_x + psi g_y, g_y = d_y + theta g_x                       what goes round between the traits
//   (x_j, y_j) ~ Normal((g_x, g_y), [[s_x^2, c], [c, s_y^2]])
//   theta ~ Normal(0, R / 2), psi ~ Normal(0, 1 / 2R), R = S_y / S_x, where |theta psi| < 1
//   sigma_x ~ HalfNormal(S_x), sigma_y ~ HalfNormal(S_y), omega_x ~ HalfNormal(S_x / 2), omega_y ~ HalfNormal(S_y / 2)
//
// Direct effects are summed out.
//
// Units: as in mendelian_randomization.stan; psi in those of the exposure for a unit of the outcome. Source: Darrous,
// Mounier and Kutalik, Nat Commun 12:7274 (2021).
functions {
  // Covariance of total effects on both traits, of either kind of instrument.
  array[] matrix of_effects(real theta, real reverse, vector first, vector second) {
    matrix[2, 2] round = inverse([[1, -reverse], [-theta, 1]]);
    return {tcrossprod(diag_post_multiply(round, first)),
            tcrossprod(diag_post_multiply(round, second))};
  }
}
data {
  int<lower=1> variant;
  vector<lower=0>[variant] se_exposure; // s_x
  vector<lower=0>[variant] se_outcome; // s_y
  vector[variant] error_covariance; // c
  array[variant] int<lower=0, upper=1> of_outcome; // v
  real<lower=0> exposure_scale; // S_x
  real<lower=0> outcome_scale; // S_y
  vector[variant] beta_exposure; // x
  vector[variant] beta_outcome; // y
}
transformed data {
  real ratio = outcome_scale / exposure_scale; // R
}
parameters {
  real theta;
  real<lower=-inv(abs(theta) + 1e-300), upper=inv(abs(theta) + 1e-300)> reverse; // psi
  real<lower=0> exposure_sd; // sigma_x
  real<lower=0> outcome_sd; // sigma_y
  real<lower=0> pleiotropy_sd; // omega_y
  real<lower=0> pleiotropy_exposure_sd; // omega_x
}
model {
  theta ~ normal(0, 0.5 * ratio);
  reverse ~ normal(0, 0.5 / ratio);
  exposure_sd ~ normal(0, exposure_scale);
  outcome_sd ~ normal(0, outcome_scale);
  pleiotropy_sd ~ normal(0, 0.5 * outcome_scale);
  pleiotropy_exposure_sd ~ normal(0, 0.5 * exposure_scale);
  {
    array[2] matrix[2, 2] own = of_effects(theta, reverse,
                                           [exposure_sd, pleiotropy_sd]',
                                           [pleiotropy_exposure_sd, outcome_sd]');
    for (j in 1 : variant) {
      matrix[2, 2] noise = [[square(se_exposure[j]), error_covariance[j]],
                            [error_covariance[j], square(se_outcome[j])]];
      vector[2] seen = [beta_exposure[j], beta_outcome[j]]';
      target += multi_normal_lpdf(seen | zeros_vector(2), own[of_outcome[j] + 1] + noise);
    }
  }
}
generated quantities {
  vector[variant] log_lik;
  vector[variant] beta_exposure_rep;
  vector[variant] beta_outcome_rep;
  {
    array[2] matrix[2, 2] own = of_effects(theta, reverse,
                                           [exposure_sd, pleiotropy_sd]',
                                           [pleiotropy_exposure_sd, outcome_sd]');
    for (j in 1 : variant) {
      matrix[2, 2] noise = [[square(se_exposure[j]), error_covariance[j]],
                            [error_covariance[j], square(se_outcome[j])]];
      vector[2] seen = [beta_exposure[j], beta_outcome[j]]';
      vector[2] again = multi_normal_rng(zeros_vector(2), own[of_outcome[j] + 1] + noise);
      log_lik[j] = multi_normal_lpdf(seen | zeros_vector(2), own[of_outcome[j] + 1] + noise);
      beta_exposure_rep[j] = again[1];
      beta_outcome_rep[j] = again[2];
    }
  }
}
