// Mendelian randomisation: causal effects of an exposure on an outcome, from the effects of
// variants on both, with errors in both.
//
//   r_j ~ Bernoulli(p)                              whether variant j is strong
//   gamma_j ~ Normal(mu, sigma if r_j, else sigma / 10)   its true effect on the exposure
//   theta_s ~ Normal(Theta, tau)                    causal effect in region s
//   alpha_s ~ .8 Normal(0, .05 S_y) + .2 Normal(0, .3 S_y)   mean pleiotropic effect in region s: most are small
//   a_j ~ Normal(0, omega)                          pleiotropic effect of variant j
//   (x_j, y_j) ~ Normal((gamma_j, theta_s gamma_j + o_j alpha_s + a_j), [[s_x^2, c], [c, s_y^2]])
//   o_j = 1 if g, else sign(gamma_j)                what an allele that raises the exposure does counts
//   Theta ~ Normal(0, R), tau ~ HalfNormal(R / 2), R = S_y / S_x
//   p ~ Uniform(0, 1), sigma ~ HalfNormal(S_x), omega ~ HalfNormal(S_y / 2)
//
// True effects gamma and pleiotropic effects a are summed out.
//
// Units: beta_exposure and se_exposure in those of the exposure, beta_outcome and se_outcome in those of the outcome;
// theta in units of the outcome for a unit of the exposure. Regions are counted from zero.
// Source: S. Malina, D. Cizin and D. Knowles: Deep Mendelian randomization, PLOS Comput Biol 18(10) (2022).
functions {
  #include mendelian_randomization.stanfunctions
}
data {
  int<lower=1> variant;
  int<lower=1> n_region;
  vector<lower=0>[variant] se_exposure; // s_x
  vector<lower=0>[variant] se_outcome; // s_y
  vector[variant] error_covariance; // c
  array[variant] int<lower=0, upper=n_region - 1> region; // s
  real exposure_mean; // mu
  int<lower=0, upper=1> signs_given; // g
  real<lower=0> exposure_scale; // S_x
  real<lower=0> outcome_scale; // S_y
  vector[variant] beta_exposure; // x
  vector[variant] beta_outcome; // y
}
transformed data {
  real ratio = outcome_scale / exposure_scale; // R
  vector[variant] v_x = square(se_exposure);
  vector[variant] v_y = square(se_outcome);
  vector[variant] sign = orientation(beta_exposure, signs_given);
  array[variant] int place;
  for (j in 1 : variant) {
    place[j] = region[j] + 1;
  }
  array[2] vector[n_region] rough = rough_slopes(beta_exposure, beta_outcome,
                                                 v_x, v_y, error_covariance,
                                                 sign, place, n_region,
                                                 square(0.3 * outcome_scale));
}
parameters {
  real<lower=0> heterogeneity; // tau
  // both in units of what the rough slopes say of them: no funnel, whether the data say little or much
  real<offset=rough_mean(heterogeneity, ratio, rough)[1],
       multiplier=rough_mean(heterogeneity, ratio, rough)[2]> global_effect; // Theta
  vector<offset=(global_effect + rough[2] .* rough[1] * square(heterogeneity))
                ./ (1 + rough[2] * square(heterogeneity)),
         multiplier=heterogeneity
                    ./ sqrt(1 + rough[2] * square(heterogeneity))>[n_region] theta;
  vector[n_region] intercept; // alpha
  real<lower=0> exposure_sd; // sigma
  real<lower=0> pleiotropy_sd; // omega
  real<lower=0, upper=1> strong_share; // p
}
model {
  global_effect ~ normal(0, ratio);
  heterogeneity ~ normal(0, 0.5 * ratio);
  theta ~ normal(global_effect, heterogeneity);
  target += intercept_lpdfs(intercept, outcome_scale);
  exposure_sd ~ normal(0, exposure_scale);
  pleiotropy_sd ~ normal(0, 0.5 * outcome_scale);
  target += effects_lpdfs(beta_exposure, beta_outcome, theta[place],
                          intercept[place], exposure_mean, exposure_sd,
                          strong_share, v_x, v_y + square(pleiotropy_sd),
                          error_covariance, signs_given);
}
generated quantities {
  vector[variant] log_lik;
  vector[variant] beta_exposure_rep;
  vector[variant] beta_outcome_rep;
  {
    vector[variant] v = v_y + square(pleiotropy_sd);
    array[2] vector[variant] again = effects_rng(theta[place], intercept[place],
                                                 exposure_mean, exposure_sd,
                                                 strong_share, v_x, v,
                                                 error_covariance, signs_given);
    log_lik = effects_lpdfs(beta_exposure, beta_outcome, theta[place],
                            intercept[place], exposure_mean, exposure_sd,
                            strong_share, v_x, v, error_covariance, signs_given);
    beta_exposure_rep = again[1];
    beta_outcome_rep = again[2];
  }
}
