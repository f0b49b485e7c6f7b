using Api.Data;
using Npgsql;
using Xunit;

namespace Api.Tests.Replicas;

public sealed class DatabaseAbsenceTests
{
    [Theory]
    [InlineData("57P01", true)]
    [InlineData("57P02", true)]
    [InlineData("57P03", true)]
    [InlineData("57014", true)]
    [InlineData("55P03", true)]
    [InlineData("53300", true)]
    [InlineData("40P01", true)]
    // Ours: a statement that is not right, a row that may not be.
    [InlineData("42601", false)]
    [InlineData("23505", false)]
    [InlineData("25006", false)]
    public void Is_OfWhatTheServerSays_ByItsCode_HoweverDeepItLies(string state, bool expected)
    {
        var told = new PostgresException("told", "FATAL", "FATAL", state);
        Assert.Equal(expected, DatabaseAbsence.Is(told));
        Assert.Equal(expected, DatabaseAbsence.Is(new InvalidOperationException("around it", new InvalidOperationException("again", told))));
    }

    [Fact]
    public void Is_OfALostConnectionAndOfTime_True_OfAnythingElse_False()
    {
        Assert.True(DatabaseAbsence.Is(new NpgsqlException("lost", new IOException())));
        Assert.True(DatabaseAbsence.Is(new NpgsqlException("slow", new TimeoutException())));
        Assert.False(DatabaseAbsence.Is(new TimeoutException()));
        Assert.False(DatabaseAbsence.Is(new InvalidOperationException()));
        Assert.False(DatabaseAbsence.Is(null));
    }
}
