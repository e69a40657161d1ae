//! The calendar: which date a day has, and which day a date is.
//!
//! The Gregorian calendar of ISO 8601 and RFC 3339, extended to all years; the year before 1 is 0. What years are in range,
//! and how dates are read and written, is for those who ask.

/// A date that exists.
///
/// ```
/// use gatepost_protocol::calendar::Date;
///
/// assert_eq!(Date::on(20_662), Date::new(2026, 7, 28).unwrap());
/// assert_eq!(Date::new(2026, 2, 29), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: i64,
    month: i64,
    day: i64,
}

/// Days of 400 years, after which the calendar repeats.
const ERA: i64 = 146_097;

/// Days from 0000-03-01, with which an era begins, to 1970-01-01.
const TO_1970: i64 = 719_468;

impl Date {
    /// The date with these numbers, if it exists and its year has at most four digits.
    pub fn new(year: i64, month: i64, day: i64) -> Option<Self> {
        let exists = (-9999..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_in(year, month)).contains(&day);
        exists.then_some(Self { year, month, day })
    }

    /// The date `days` after 1970-01-01.
    ///
    /// Howard Hinnant's `civil_from_days`: a year is taken to begin in March, so that the leap day is its last; then months
    /// follow a pattern of 153 days in five.
    #[inline]
    pub const fn on(days: i64) -> Self {
        let shifted = days.saturating_add(TO_1970);
        let (era, day_of_era) = (shifted.div_euclid(ERA), shifted.rem_euclid(ERA));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * from_march + 2) / 5 + 1;
        let month = from_march + if from_march < 10 { 3 } else { -9 };
        let year = year_of_era + era * 400 + (month <= 2) as i64;
        Self { year, month, day }
    }

    /// How many days after 1970-01-01 it is. The inverse of [`Self::on`].
    #[inline]
    pub const fn days(self) -> i64 {
        let year = self.year - (self.month <= 2) as i64;
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let from_march = self.month + if self.month > 2 { -3 } else { 9 };
        let day_of_year = (153 * from_march + 2) / 5 + self.day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * ERA + day_of_era - TO_1970
    }

    /// How many days it is after the first of January of its year.
    pub const fn days_into_year(self) -> i64 {
        let first = Self {
            month: 1,
            day: 1,
            ..self
        };
        self.days() - first.days()
    }

    /// The year; 0 is the one before 1.
    pub const fn year(self) -> i64 {
        self.year
    }

    /// The month, 1 to 12.
    pub const fn month(self) -> i64 {
        self.month
    }

    /// The day of the month, 1 to 31.
    pub const fn day(self) -> i64 {
        self.day
    }
}

const fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_day_of_four_digit_years_has_the_next_date() {
        const LENGTHS: [i64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut days = Date::new(-9999, 1, 1).unwrap().days();
        for year in -9999..=9999 {
            let leap = year % 400 == 0 || year % 4 == 0 && year % 100 != 0;
            let mut days_into_year = 0;
            for (month, length) in (1..).zip(LENGTHS) {
                let length = length + i64::from(leap && month == 2);
                for day in 1..=length {
                    let date = Date { year, month, day };
                    assert_eq!(Date::on(days), date);
                    assert_eq!(Date::new(year, month, day), Some(date));
                    assert_eq!(date.days(), days, "{date:?}");
                    assert_eq!(date.days_into_year(), days_into_year, "{date:?}");
                    days += 1;
                    days_into_year += 1;
                }
                assert_eq!(Date::new(year, month, length + 1), None);
            }
        }
        // 10000-01-01
        assert_eq!(days, 2_932_897);
    }

    #[test]
    fn known_dates() {
        for (days, year, month, day) in [
            (0, 1970, 1, 1),
            (-1, 1969, 12, 31),
            (11_016, 2000, 2, 29),
            (20_662, 2026, 7, 28),
            (47_540, 2100, 2, 28),
            (-719_528, 0, 1, 1),
        ] {
            assert_eq!(Date::new(year, month, day).map(Date::days), Some(days));
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for (year, month, day) in [
            (2026, 0, 1),
            (2026, 13, 1),
            (2026, 1, 0),
            (2026, 1, i64::MIN),
            (2026, i64::MAX, 1),
            (10_000, 1, 1),
            (i64::MIN, 1, 1),
        ] {
            assert_eq!(Date::new(year, month, day), None);
        }
    }

    proptest! {
        #[test]
        fn dates_of_all_seconds_lead_back_to_their_day(seconds: i64) {
            let days = seconds.div_euclid(86_400);
            let date = Date::on(days);
            prop_assert_eq!(date.days(), days);
            prop_assert_eq!(Date::on(days + 146_097), Date { year: date.year + 400, ..date });
        }

        #[test]
        fn no_number_of_days_makes_it_panic(days: i64) {
            let date = Date::on(days);
            prop_assert!((1..=days_in(date.year, date.month)).contains(&date.day));
        }
    }
}
