namespace Api.Http;

public static class Paging
{
    public const int MaxLimit = 1000;

    public static IResult LimitProblem() => ApiProblem.Validation("limit", $"takes 1 to {MaxLimit}");
}
